// What the constructs make, and that cdk-nag finds nothing that is not argued here.   node --test test/
import assert from 'node:assert/strict';
import { test } from 'node:test';
import cdk from 'aws-cdk-lib';
import assertions from 'aws-cdk-lib/assertions';
import acm from 'aws-cdk-lib/aws-certificatemanager';
import ec2 from 'aws-cdk-lib/aws-ec2';
import ecs from 'aws-cdk-lib/aws-ecs';
import ecr from 'aws-cdk-lib/aws-ecr';
import elb from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import lambda from 'aws-cdk-lib/aws-lambda';
import secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import sns from 'aws-cdk-lib/aws-sns';
import nag from 'cdk-nag';
import lib from '../lib/index.js';
import described from '../lib/alarms.js';

const { Match, Template } = assertions;
const { ALARMS } = described;

function stack(build) {
  const app = new cdk.App();
  const made = new cdk.Stack(app, 'Test');
  const vpc = new ec2.Vpc(made, 'Vpc', { restrictDefaultSecurityGroup: false });
  const repository = ecr.Repository.fromRepositoryName(made, 'Repository', 'application');
  const application = new lib.LambdaDispatchFunction(made, 'Application', { vpc, code: lambda.DockerImageCode.fromEcr(repository) });
  const image = ecs.ContainerImage.fromRegistry('router:1');
  build?.({ made, vpc, application, image });
  return { app, made };
}

function service(props = {}) {
  return stack(({ made, vpc, application, image }) => {
    new lib.LambdaDispatchService(made, 'Router', { vpc, function: application.function, image, ...props });
  });
}

function environment(made) {
  const [task] = Object.values(Template.fromStack(made).findResources('AWS::ECS::TaskDefinition'));
  return Object.fromEntries(task.Properties.ContainerDefinitions[0].Environment.map(({ Name, Value }) => [Name, Value]));
}

test('the role of the task may invoke the function and nothing else', () => {
  const template = Template.fromStack(service().made);
  const policies = Object.values(template.findResources('AWS::IAM::Policy'))
    .filter((policy) => JSON.stringify(policy.Properties.Roles).includes('RouterTaskTaskRole'));
  assert.equal(policies.length, 1);
  const statements = policies[0].Properties.PolicyDocument.Statement;
  assert.equal(statements.length, 1);
  assert.equal(statements[0].Action, 'lambda:InvokeFunction');
  assert.match(JSON.stringify(statements[0].Resource), /ApplicationFunction/);
  assert.doesNotMatch(JSON.stringify(statements[0].Resource), /\*/);
});

test('only the function reaches the control port', () => {
  Template.fromStack(service().made).hasResourceProperties('AWS::EC2::SecurityGroupIngress', {
    FromPort: 5004,
    SourceSecurityGroupId: { 'Fn::GetAtt': [Match.stringLikeRegexp('ApplicationSecurityGroup'), 'GroupId'] },
  });
  const rules = Object.values(Template.fromStack(service().made).findResources('AWS::EC2::SecurityGroupIngress'));
  assert.deepEqual(rules.map((rule) => rule.Properties.FromPort).sort(), [5001, 5004]);
});

test('the control port without TLS opens when it is asked for', () => {
  const { made } = service({ settings: { allowInsecureControlChannel: true } });
  const rules = Object.values(Template.fromStack(made).findResources('AWS::EC2::SecurityGroupIngress'));
  assert.deepEqual(rules.map((rule) => rule.Properties.FromPort).sort(), [5001, 5003, 5004]);
});

test('a setting is an environment variable, and one that is not given is none', () => {
  const found = environment(service({ settings: { minInstances: 3, memoryBudget: '512MiB', exposeLambdaIds: false } }).made);
  assert.equal(found.LAMBDA_DISPATCH_MinInstances, '3');
  assert.equal(found.LAMBDA_DISPATCH_MemoryBudget, '512MiB');
  assert.equal(found.LAMBDA_DISPATCH_ExposeLambdaIds, 'false');
  assert.equal('LAMBDA_DISPATCH_MaxQueue' in found, false);
});

test('a secret is read from Secrets Manager and never stands in the template', () => {
  const { made } = stack(({ made, vpc, application, image }) => {
    new lib.LambdaDispatchService(made, 'Router', {
      vpc, function: application.function, image,
      secrets: { adminToken: secretsmanager.Secret.fromSecretNameV2(made, 'Token', 'token') },
    });
  });
  const [task] = Object.values(Template.fromStack(made).findResources('AWS::ECS::TaskDefinition'));
  assert.deepEqual(task.Properties.ContainerDefinitions[0].Secrets.map((secret) => secret.Name), ['LAMBDA_DISPATCH_AdminToken']);
});

test('the container is read-only, not root, without capabilities, and drains before it is killed', () => {
  const [task] = Object.values(Template.fromStack(service().made).findResources('AWS::ECS::TaskDefinition'));
  const container = task.Properties.ContainerDefinitions[0];
  assert.equal(container.ReadonlyRootFilesystem, true);
  assert.equal(container.User, '65532:65532');
  assert.deepEqual(container.LinuxParameters.Capabilities.Drop, ['ALL']);
  assert.equal(container.StopTimeout, 60);
});

test('a task and a target are healthy once the router is ready, and have three minutes for that', () => {
  const template = Template.fromStack(service().made);
  template.hasResourceProperties('AWS::ECS::TaskDefinition', {
    ContainerDefinitions: [Match.objectLike({
      HealthCheck: {
        Command: ['CMD', 'lambda-dispatch', 'healthcheck', 'http://127.0.0.1:5001/health?ready'],
        Interval: 5, Timeout: 3, Retries: 3, StartPeriod: 180,
      },
    })],
  });
  template.hasResourceProperties('AWS::ElasticLoadBalancingV2::TargetGroup', { HealthCheckPath: '/health?ready' });
  template.hasResourceProperties('AWS::ECS::Service', { HealthCheckGracePeriodSeconds: 180 });
});

test('without a load balancer there is none, and no listener', () => {
  const template = Template.fromStack(service({ loadBalancer: lib.LoadBalancer.NONE }).made);
  template.resourceCountIs('AWS::ElasticLoadBalancingV2::LoadBalancer', 0);
  template.resourceCountIs('AWS::ElasticLoadBalancingV2::Listener', 0);
});

function alarms(made) {
  return Object.values(Template.fromStack(made).findResources('AWS::CloudWatch::Alarm')).map(({ Properties }) => Properties);
}

test('of several functions each may be invoked, call back and be named, and has alarms of its own', () => {
  const { made } = stack(({ made, vpc, application, image }) => {
    const repository = ecr.Repository.fromRepositoryName(made, 'More', 'more');
    const more = new lib.LambdaDispatchFunction(made, 'Second', { vpc, code: lambda.DockerImageCode.fromEcr(repository) });
    new lib.LambdaDispatchService(made, 'Router', { vpc, function: application.function, moreFunctions: [more.function], image });
  });
  const template = Template.fromStack(made);
  const policy = Object.values(template.findResources('AWS::IAM::Policy'))
    .find((it) => JSON.stringify(it.Properties.Roles).includes('RouterTaskTaskRole'));
  const resources = policy.Properties.PolicyDocument.Statement[0].Resource;
  assert.match(JSON.stringify(resources), /ApplicationFunction.*SecondFunction/);
  const control = Object.values(template.findResources('AWS::EC2::SecurityGroupIngress'))
    .filter((rule) => rule.Properties.FromPort === 5004);
  assert.match(JSON.stringify(control), /ApplicationSecurityGroup.*SecondSecurityGroup/);
  const found = environment(made);
  assert.equal(found.LAMBDA_DISPATCH_AllowFunctionHeader, 'true');
  assert.match(JSON.stringify(found.LAMBDA_DISPATCH_FunctionAllow), /ApplicationFunction.*SecondFunction/);
  const own = Object.values(ALARMS).filter((it) => it.source !== 'balancer').length;
  assert.equal(alarms(made).length, Object.keys(ALARMS).length + own);
});

test('with one function clients choose none', () => {
  const found = environment(service().made);
  assert.equal('LAMBDA_DISPATCH_AllowFunctionHeader' in found, false);
  assert.equal('LAMBDA_DISPATCH_FunctionAllow' in found, false);
});

test('a network load balancer passes TCP to the routers and asks whether they are ready', () => {
  const { made } = service({ loadBalancer: lib.LoadBalancer.INTERNAL_NETWORK });
  const template = Template.fromStack(made);
  template.hasResourceProperties('AWS::ElasticLoadBalancingV2::LoadBalancer', { Type: 'network', Scheme: 'internal' });
  template.hasResourceProperties('AWS::ElasticLoadBalancingV2::Listener', { Port: 80, Protocol: 'TCP' });
  template.hasResourceProperties('AWS::ElasticLoadBalancingV2::TargetGroup', {
    Protocol: 'TCP', HealthCheckProtocol: 'HTTP', HealthCheckPath: '/health?ready', TargetType: 'ip',
  });
  template.hasResourceProperties('AWS::ECS::Service', {
    HealthCheckGracePeriodSeconds: 180, LoadBalancers: [Match.objectLike({ ContainerPort: 5001 })],
  });
  const described = Object.values(ALARMS).filter((it) => it.source === 'balancer').map((it) => it.description);
  const made_ = alarms(made).filter((alarm) => described.includes(alarm.AlarmDescription));
  assert.deepEqual(made_.map((alarm) => [alarm.Namespace, alarm.MetricName]), [['AWS/NetworkELB', 'UnHealthyHostCount']]);
});

test('a network load balancer with a certificate ends TLS', () => {
  const { made } = stack(({ made, vpc, application, image }) => {
    const certificate = acm.Certificate.fromCertificateArn(made, 'Certificate', 'arn:aws:acm:eu-west-1:111111111111:certificate/a');
    const loadBalancer = lib.LoadBalancer.INTERNET_FACING_NETWORK;
    new lib.LambdaDispatchService(made, 'Router', { vpc, function: application.function, image, certificate, loadBalancer });
  });
  Template.fromStack(made).hasResourceProperties('AWS::ElasticLoadBalancingV2::Listener', { Port: 443, Protocol: 'TLS' });
});

const LISTENER = 'arn:aws:elasticloadbalancing:eu-west-1:111111111111:listener/app/shared/0123456789abcdef/0123456789abcdef';

function listening(props = {}) {
  return stack(({ made, vpc, application, image }) => {
    const listener = elb.ApplicationListener.fromApplicationListenerAttributes(made, 'Listener', {
      listenerArn: LISTENER,
      securityGroup: ec2.SecurityGroup.fromSecurityGroupId(made, 'Shared', 'sg-0123456789abcdef0'),
    });
    const existingListener = { listener, conditions: [elb.ListenerCondition.hostHeaders(['app.example.com'])], priority: 7 };
    new lib.LambdaDispatchService(made, 'Router', { vpc, function: application.function, image, existingListener, ...props });
  });
}

test('a listener that exists gets a rule, and its load balancer reaches the routers', () => {
  const { made } = listening();
  const template = Template.fromStack(made);
  template.resourceCountIs('AWS::ElasticLoadBalancingV2::LoadBalancer', 0);
  template.hasResourceProperties('AWS::ElasticLoadBalancingV2::ListenerRule', { ListenerArn: LISTENER, Priority: 7 });
  template.hasResourceProperties('AWS::EC2::SecurityGroupIngress', { FromPort: 5001, SourceSecurityGroupId: 'sg-0123456789abcdef0' });
  const [made_] = Object.values(template.findResources('AWS::ECS::Service'));
  assert.equal(made_.Properties.HealthCheckGracePeriodSeconds, 180);
  assert.ok(made_.DependsOn.some((name) => name.includes('Rule')), 'a target group without a listener takes no service');
  assert.equal(alarms(made).length, Object.keys(ALARMS).length);
});

test('a load balancer beside a listener that exists is refused', () => {
  assert.throws(() => listening({ loadBalancer: lib.LoadBalancer.INTERNAL }), /choose one of them/);
});

test('every alarm of the description is made, with its figures, threshold and topic', () => {
  const { made } = stack(({ made, vpc, application, image }) => {
    const alarmTopic = sns.Topic.fromTopicArn(made, 'Topic', 'arn:aws:sns:eu-west-1:111111111111:alarms');
    new lib.LambdaDispatchService(made, 'Router', { vpc, function: application.function, image, alarmTopic });
  });
  const found = Object.fromEntries(alarms(made).map((alarm) => [alarm.AlarmDescription, alarm]));
  assert.equal(Object.keys(found).length, Object.keys(ALARMS).length);
  for (const [name, described] of Object.entries(ALARMS)) {
    const alarm = found[described.description];
    assert.ok(alarm, name);
    assert.equal(alarm.Threshold, described.threshold, name);
    assert.equal(alarm.ComparisonOperator, described.comparison, name);
    assert.equal(alarm.EvaluationPeriods, described.periods, name);
    assert.equal(alarm.DatapointsToAlarm ?? alarm.EvaluationPeriods, described.datapoints, name);
    assert.equal(alarm.AlarmActions.length, 1, name);
    const read = alarm.Metrics
      ? Object.fromEntries(alarm.Metrics.filter((it) => it.MetricStat)
        .map(({ Id, MetricStat }) => [Id, { metric: MetricStat.Metric.MetricName, stat: MetricStat.Stat }]))
      : { [Object.keys(described.metrics)[0]]: { metric: alarm.MetricName, stat: alarm.Statistic } };
    assert.deepEqual(read, described.metrics, name);
    if (described.expression) {
      assert.deepEqual(alarm.Metrics.filter((it) => it.Expression).map((it) => it.Expression), [described.expression], name);
    }
  }
});

test('alarms that have nothing to look at are not made', () => {
  const sources = (props) => new Set(alarms(service(props).made)
    .map((alarm) => Object.values(ALARMS).find((it) => it.description === alarm.AlarmDescription).source));
  assert.deepEqual(sources({ loadBalancer: lib.LoadBalancer.NONE }), new Set(['router', 'lambda']));
  assert.deepEqual(sources({ settings: { cloudWatchMetricsEnabled: false } }), new Set(['lambda', 'balancer']));
});

test('a deployment that raises 5xx is rolled back', () => {
  Template.fromStack(service().made).hasResourceProperties('AWS::ECS::Service', {
    DeploymentConfiguration: { Alarms: { Enable: true, Rollback: true, AlarmNames: [Match.anyValue()] } },
  });
});

for (const [props, message] of [
  [{ settings: { drainDeadline: '58' } }, /drainDeadline is 58 s/],
  [{ stopTimeout: cdk.Duration.seconds(200) }, /120 s/],
  [{ minTasks: 3, maxTasks: 2 }, /maxTasks is 2/],
]) {
  test(`what cannot work is refused when it is synthesized: ${message.source}`, () => {
    assert.throws(() => service(props), message);
  });
}

const ARGUED = {
  'AwsSolutions-VPC7': 'the VPC of this test is not ours',
  'AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole]':
    'what AWS gives every function of a VPC; it follows the service',
  'AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole]':
    'what AWS gives every function of a VPC; it follows the service',
  'AwsSolutions-ECS2': 'settings are no secrets; those that are come from Secrets Manager',
  'AwsSolutions-ELB2': 'the router writes the access log; a bucket is the account\'s decision',
  'AwsSolutions-EC23': 'clients are the VPC\'s addresses, a reference that the rule cannot read',
};

for (const [shape, build, unneeded] of [
  ['an application load balancer', () => service(), []],
  ['a network load balancer', () => service({ loadBalancer: lib.LoadBalancer.INTERNAL_NETWORK }), []],
  ['a listener that exists', () => listening(), ['AwsSolutions-ELB2', 'AwsSolutions-EC23']],
]) {
  test(`cdk-nag finds nothing that is not argued: ${shape}`, () => {
    const { app, made } = build();
    const { violations } = new nag.AwsSolutionsChecks(app).validateScope(made);
    const found = violations.map(({ ruleName }) => ruleName);
    assert.deepEqual(found.filter((name) => !(name in ARGUED)), []);
    const missing = Object.keys(ARGUED).filter((name) => !found.includes(name) && !unneeded.includes(name));
    assert.deepEqual(missing, [], 'no longer found: remove it');
  });
}
